// Package testkit is what tests of several packages need: honest skips, golden
// files, a check that everything taken from the host was given back, trees of
// files to compare, and knowledge of this process's children. Only _test files
// import it.
//
// Need is the only way to skip a test that lacks a host feature, Command one
// that lacks a program, Skip one that lacks anything else. A skip is a claim about
// the host, so a feature that this kernel ought to have fails the test instead, and
// so does any skip if the environment has SKAS_REQUIRE=all. With SKAS_SKIPS=FILE
// each skip adds a line to FILE, for a list at the end of a run of many packages.
package testkit
