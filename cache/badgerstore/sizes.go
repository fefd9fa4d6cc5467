package badgerstore

// sizes are the lengths of files and steps that depend on how much disk the store
// may take, in bytes. Under a small quota all of them are small: a value-log file
// gives its space back as a whole, and what is allocated ahead counts too.
type sizes struct {
	valueLog int64 // where Badger begins another value-log file
	commit   int64 // of slabs in one transaction
	step     int64 // allocated ahead in the value log
	walStep  int64 // allocated ahead in the memtable's log
	ballast  int64 // see guard
	reclaim  int64 // deleted bytes that are worth rewriting files
	memTable int64 // of keys in memory before they go to a table
	spare    int64 // kept below the quota: for a file while it is rewritten, and tables
}

// sizesFor returns the sizes of a store that may take quota bytes; 0 or less means
// no limit.
func sizesFor(quota int64) sizes {
	z := sizes{
		valueLog: valueLogSize, commit: commitSize, step: 4 << 20, walStep: 1 << 20,
		ballast: ballastSize, reclaim: valueLogSize / 2, memTable: memTableSize,
	}
	if quota <= 0 {
		return z
	}
	z.valueLog = 1 << 20 // Badger takes no less
	for z.valueLog < valueLogSize && z.valueLog*2 <= quota/32 {
		z.valueLog *= 2
	}
	z.commit = min(z.commit, z.valueLog/2)
	z.step = min(z.step, z.valueLog/2)
	z.walStep = min(z.walStep, z.valueLog/4)
	z.ballast = min(z.ballast, quota/16&^4095)
	z.reclaim = max(z.valueLog*2, quota/16)
	z.memTable = min(z.memTable, max(2<<20, quota/16)) // reclaiming makes a new one each time
	z.spare = z.valueLog + z.commit + 1<<20
	return z
}

// Capacity returns how many bytes of pieces a store with this quota keeps without
// hitting it, if they are deleted in the order in which they were put: the rest is
// garbage that waits to be reclaimed, and what Badger needs. It is zero for a
// quota that is too small for a store.
func Capacity(quota int64) int64 {
	if quota <= 0 {
		return 0
	}
	z := sizesFor(quota)
	partial := 2 * (z.valueLog + z.commit) // the oldest file and the newest
	return max(0, quota-z.spare-z.ballast-z.step-2*z.walStep-z.reclaim-partial-quota/64)
}
