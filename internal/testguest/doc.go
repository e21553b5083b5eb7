// Package testguest runs a test's programs, in a guest and on the host, so that
// a test can compare the two. Only _test files of packages above guest import
// it.
package testguest
