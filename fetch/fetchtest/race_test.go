//go:build race

package fetchtest

// The race detector has nothing to find where nothing is concurrent; it only
// makes every run ten times as long.
func init() { defaultRuns = 30 }
