//go:build race

package nodetest_test

// raced says that the race detector is on. It makes the tests that measure, which start many
// nodes one after another, ten times slower: they run without it.
const raced = true
