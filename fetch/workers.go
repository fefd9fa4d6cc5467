package fetch

import "sync"

// workers runs jobs on a fixed number of goroutines, in order of arrival. The
// queue has no bound of its own: those who fill it bound what they have out.
type workers struct {
	mu     sync.Mutex
	more   sync.Cond
	queue  []func()
	closed bool
	wg     sync.WaitGroup
}

func newWorkers(n int) *workers {
	w := &workers{}
	w.more.L = &w.mu
	for range n {
		w.wg.Go(w.run)
	}
	return w
}

func (w *workers) run() {
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.closed {
			w.more.Wait()
		}
		if len(w.queue) == 0 {
			w.mu.Unlock()
			return
		}
		job := w.queue[0]
		w.queue = w.queue[1:]
		w.mu.Unlock()
		job()
	}
}

// do queues a job. It must not be called after close.
func (w *workers) do(job func()) {
	w.mu.Lock()
	w.queue = append(w.queue, job)
	w.mu.Unlock()
	w.more.Signal()
}

// close runs what is queued and waits for it.
func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.more.Broadcast()
	w.wg.Wait()
}
