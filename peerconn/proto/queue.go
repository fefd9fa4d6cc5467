package proto

// events is a queue of events.
type events struct {
	queue []Event
	head  int
}

// keepEvents is how many events an empty queue keeps room for.
const keepEvents = 256

func (c *Conn) emit(e Event) { c.events.queue = append(c.events.queue, e) }

// Next takes out the oldest event. It answers false if there is none.
func (c *Conn) Next() (Event, bool) {
	q := &c.events
	if q.head == len(q.queue) {
		return nil, false
	}
	e := q.queue[q.head]
	q.queue[q.head] = nil
	if q.head++; q.head == len(q.queue) {
		q.reset()
	}
	return e, true
}

// AppendEvents takes out all events, appends them to evs and returns it.
func (c *Conn) AppendEvents(evs []Event) []Event {
	q := &c.events
	evs = append(evs, q.queue[q.head:]...)
	clear(q.queue)
	q.reset()
	return evs
}

// HasEvents reports whether Next has an event.
func (c *Conn) HasEvents() bool { return c.events.head < len(c.events.queue) }

func (q *events) reset() {
	q.queue, q.head = q.queue[:0], 0
	if cap(q.queue) > keepEvents {
		q.queue = nil
	}
}
