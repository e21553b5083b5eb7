// Package testkit is what tests of several packages need: a check that
// everything taken from the host was given back, and knowledge of this
// process's children. Only _test files import it.
package testkit
