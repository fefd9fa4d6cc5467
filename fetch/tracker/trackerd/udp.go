package trackerd

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"net/netip"
	"time"
)

const (
	udpProtocolID = 0x41727101980 // BEP 15
	actConnect    = 0
	actAnnounce   = 1
	actError      = 3
	announceLen   = 98
)

// serveUDP answers packets until conn is closed.
func (s *Server) serveUDP(conn *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if s.closing() {
				return
			}
			continue // an ICMP error of an earlier answer
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if out := s.answerUDP(time.Now(), from, buf[:n]); out != nil {
			conn.WriteToUDPAddrPort(out, from)
		}
	}
}

// answerUDP returns the answer to packet b, or nil if it deserves none. No
// answer to a sender that did not prove its address is longer than its packet,
// so nobody can be flooded through this tracker.
func (s *Server) answerUDP(now time.Time, from netip.AddrPort, b []byte) []byte {
	if len(b) < 16 {
		return nil
	}
	be := binary.BigEndian
	id, action, tid := be.Uint64(b), be.Uint32(b[8:]), be.Uint32(b[12:])
	switch {
	case action == actConnect && id == udpProtocolID:
		return be.AppendUint64(header(actConnect, tid), s.connID(now, from))
	case id != s.connID(now, from) && id != s.connID(now.Add(-time.Minute), from):
		return nil
	case action != actAnnounce || len(b) < announceLen:
		return append(header(actError, tid), "only announce is served"...)
	}
	return s.answerUDPAnnounce(now, from, tid, b)
}

func (s *Server) answerUDPAnnounce(now time.Time, from netip.AddrPort, tid uint32, b []byte) []byte {
	be := binary.BigEndian
	a := announce{
		infoHash: [20]byte(b[16:36]),
		left:     int64(be.Uint64(b[64:])),
		event:    be.Uint32(b[80:]),
		numWant:  int(int32(be.Uint32(b[92:]))),
		peer:     netip.AddrPortFrom(from.Addr().WithZone(""), be.Uint16(b[96:])),
	}
	if a.peer.Port() == 0 {
		return append(header(actError, tid), "no usable port"...)
	}
	ans, ok := s.registry.announce(now, a)
	if !ok {
		return append(header(actError, tid), "this tracker is full"...)
	}
	s.logAnnounce(a)
	out := be.AppendUint32(header(actAnnounce, tid), uint32(s.opt.Interval/time.Second))
	out = be.AppendUint32(out, uint32(ans.leechers))
	out = be.AppendUint32(out, uint32(ans.seeders))
	peers := ans.peers6
	if from.Addr().Is4() {
		peers = ans.peers4
	}
	return appendCompact(out, peers)
}

func header(action, tid uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, action), tid)
}

// connID is a connection id without a table: only who received it at from can
// know it, and it changes every minute (BEP 15, UDP connections / spoofing).
func (s *Server) connID(now time.Time, from netip.AddrPort) uint64 {
	mac := hmac.New(sha256.New, s.secret[:])
	addr := from.Addr().As16()
	mac.Write(addr[:])
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(now.Unix()/60)))
	return binary.BigEndian.Uint64(mac.Sum(nil))
}
