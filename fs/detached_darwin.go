package fs

// watched runs serve. A forced unmount ends the connection there, so there is nothing
// to watch for.
func (f *FS) watched(serve func()) { serve() }
