package trace

// Pair is a line of each trace that belong together; one that only one trace
// has stands alone.
type Pair struct {
	Left, Right *Line
	// Exceptions are the names of those that make the two the same.
	Exceptions []string
}

// Equal says that the pair is no difference.
func (p Pair) Equal() bool { return p.Left != nil && p.Right != nil }

// Align pairs the lines of two traces so that as many as possible are equal, in
// order, with exceptions granted.
func Align(left, right []Line, granted []Exception) []Pair {
	l, r := keys(left, granted), keys(right, granted)
	var pairs []Pair
	i, j := 0, 0
	for _, m := range common(l, r) {
		for ; i < m.left; i++ {
			pairs = append(pairs, Pair{Left: &left[i]})
		}
		for ; j < m.right; j++ {
			pairs = append(pairs, Pair{Right: &right[j]})
		}
		p := Pair{Left: &left[i], Right: &right[j]}
		if p.Left.Text != p.Right.Text {
			p.Exceptions = needed(p.Left.Text, p.Right.Text, granted)
		}
		pairs = append(pairs, p)
		i, j = i+1, j+1
	}
	for ; i < len(left); i++ {
		pairs = append(pairs, Pair{Left: &left[i]})
	}
	for ; j < len(right); j++ {
		pairs = append(pairs, Pair{Right: &right[j]})
	}
	return pairs
}

type match struct{ left, right int }

// common is a longest common subsequence, by Myers' greedy algorithm: "An O(ND)
// Difference Algorithm and Its Variations", 1986. furthest[d][k] is how far
// along the left side a path with d single lines gets on diagonal k.
func common(left, right []string) []match {
	n, m := len(left), len(right)
	furthest := []map[int]int{{1: 0}}
	for d := 0; ; d++ {
		v := furthest[d]
		next := make(map[int]int, d+2)
		for k := -d; k <= d; k += 2 {
			x := from(v, k, d)
			for x < n && x-k < m && left[x] == right[x-k] {
				x++
			}
			next[k] = x
			if x >= n && x-k >= m {
				return backtrack(append(furthest, next), n, m)
			}
		}
		furthest = append(furthest, next)
	}
}

// from is where a path with d single lines enters diagonal k, given where those
// with one less have ended.
func from(v map[int]int, k, d int) int {
	if d == 0 {
		return 0
	}
	if k == -d || k != d && v[k-1] < v[k+1] {
		return v[k+1] // a line of the right side alone
	}
	return v[k-1] + 1 // a line of the left side alone
}

func backtrack(furthest []map[int]int, x, y int) []match {
	var found []match
	for d := len(furthest) - 2; d >= 0; d-- {
		v, k := furthest[d], x-y
		start := from(v, k, d)
		for x > start {
			x, y = x-1, y-1
			found = append(found, match{x, y})
		}
		if d == 0 {
			break
		}
		if k == -d || k != d && v[k-1] < v[k+1] {
			y--
		} else {
			x--
		}
	}
	for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
		found[i], found[j] = found[j], found[i]
	}
	return found
}
