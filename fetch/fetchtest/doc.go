// Package fetchtest runs whole swarms in virtual time.
//
// A World has hosts with links of a rate and a delay, a torrent, and peers on
// the hosts: clients, which are a swarm.Swarm with real proto.Conns and buffers
// around it, and simulated peers, which serve as a Behavior says: honestly,
// slowly, falsely or not at all. Everything happens on one queue of events, so a
// run takes as long as its arithmetic, and the same seed gives the same run.
// While it runs the World watches what must never happen: a bad block in a
// verified piece, two connections writing to one place, an honest peer banned.
//
// A Scenario is a world written down in lines of text with what is to happen in
// it; running it gives a transcript.
//
// What it does not do: TCP. A link has no slow start and loses connections, not
// packets. And a store never fails here.
package fetchtest
