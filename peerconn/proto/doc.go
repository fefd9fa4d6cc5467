// Package proto is the state machine of one peer connection: bytes in, events
// out (BEP 3, 6, 10, 52).
//
// A Conn does no I/O and has no clock, goroutine or lock. Its driver owns it and
// hands it what happens:
//
//	bytes were read         Feed(now, b)
//	Deadline() has come     Tick(now)
//	the swarm wants blocks  Request, Cancel, Abandon
//	anything else to send   Send, SendPiece, SendExtension
//
// and after each of these calls takes out what came of it:
//
//	events                  Next until false, or AppendEvents
//	bytes to write          TakeOutput, or Output
//
// Events may come of every call, not of Feed alone: a Request that cannot be
// sent is Rejected at once. Any way to cut the peer's bytes into Feeds gives the
// same events.
//
// # Blocks
//
// The table of requests in flight lives here. Request hands over dst, and a
// payload is copied once: from the bytes fed into dst, as they arrive. dst is
// written only while its request is in flight: never after the Block, Rejected
// or Discarded event of the request, after Abandon, or after a Cancel without
// the fast extension. Every request ends with exactly one of these events,
// except after a Cancel without the fast extension, which ends it silently.
// A piece that was not asked for is skipped without a copy and is Unsolicited.
//
// # Writing
//
// TakeOutput swaps the queue with one that the driver has written, so one
// goroutine can write while another feeds, without a copy or an allocation:
//
//	mu.Lock()
//	conn.TakeOutput(&out)
//	mu.Unlock()
//	bufs := net.Buffers(out.Buffers(scratch[:0]))
//	_, err := bufs.WriteTo(sock)
//	for _, p := range out.Pieces() {
//		done(p.Token, err == nil)
//	}
//
// SendPiece queues a block without a copy: only its header is the Conn's, the
// data goes into Buffers as it is and must not change until it has been written.
// The driver's token comes back in Output.Pieces with the offset at which the
// piece ends, for drivers that write in portions. SendPiece answers false, and
// forgets the token, if the peer does not wait for this block any more: it was
// cancelled, or choked away. So an upload that comes late is harmless.
//
// A peer that never reads cannot make the queue of answers grow without bound:
// Feed fails once too many are waiting. A driver should still stop reading
// while its socket does not take what is queued.
//
// # Requests of the peer
//
// The Conn keeps them in a table, up to Config.MaxPeerRequests. PeerRequest
// announces one that is in the torrent and allowed; Send or SendPiece of the
// Piece, or Send of a Reject, ends it. All others are answered here, by a Reject
// with the fast extension and silently without: those over the limit, those
// while the peer is choked, those that the peer cancels (PeerCancel), and those
// waiting when Send(wire.Choke) is called, which all are forgotten then, but for
// pieces that were allowed fast.
package proto
