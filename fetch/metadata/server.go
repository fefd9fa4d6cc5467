package metadata

// generosity is how often one connection may fetch the whole metadata. (BEP 9:
// "Clients MAY implement flood protection by rejecting request messages after a
// certain number of them have been served. Typically the number of pieces of metadata
// times a factor.")
const generosity = 4

// Server answers the requests of one connection. The zero Server has nothing and
// rejects all.
type Server struct {
	info   []byte
	served int
}

// NewServer serves an info dictionary, which must not change.
func NewServer(info []byte) Server { return Server{info: info} }

// Answer returns the payload to answer one with; nil: none. While busy requests are
// rejected: the connection has enough to write.
func (s *Server) Answer(payload []byte, busy bool) []byte {
	m, err := ParseMessage(payload)
	if err != nil || m.Kind != Request {
		return nil
	}
	size := int64(len(s.info))
	n := pieces(size)
	if busy || m.Piece >= n || s.served >= generosity*n {
		return Message{Kind: Reject, Piece: m.Piece}.Append(nil)
	}
	s.served++
	at := m.Piece * PieceSize
	return Message{Kind: Data, Piece: m.Piece, Total: size, Data: s.info[at : at+pieceLen(size, m.Piece)]}.Append(nil)
}
