package toy

func Programs() map[string][]byte { return nil }

const Init = "init"
