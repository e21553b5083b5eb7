// Command get fetches real User Mode Linux for the tests and for skas diff.
package main

import (
	"context"
	"fmt"
	"os"

	"goskas/realuml"
)

func main() {
	if err := get(); err != nil {
		fmt.Fprintln(os.Stderr, "real-uml:", err)
		os.Exit(1)
	}
}

func get() error {
	dir, err := realuml.CacheDir()
	if err != nil {
		return err
	}
	k, err := realuml.Fetch(context.Background(), dir, func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
	})
	if err != nil {
		return err
	}
	fmt.Printf("user-mode-linux %s is in %s\n", k.Version, dir)
	return nil
}
