package picker

// rarity keeps the pieces that are neither had nor begun, ordered by how many
// partial sources have them, rarest first, shuffled within equal counts. Sources that have
// everything move all pieces alike and are not counted here, so a have costs
// O(1) and a seed that comes or goes costs nothing.
type rarity struct {
	order []int32  // bucket after bucket
	pos   []int32  // piece -> its place in order, -1 when not in it
	count []uint16 // piece -> partial sources that have it
	start []int32  // count -> first place of its bucket; one past the last bucket stands len(order)
}

func newRarity(n int, shuffle func(n int, swap func(i, j int))) *rarity {
	r := &rarity{
		order: make([]int32, n),
		pos:   make([]int32, n),
		count: make([]uint16, n),
		start: []int32{0, int32(n)},
	}
	for i := range r.order {
		r.order[i] = int32(i)
	}
	shuffle(n, func(i, j int) { r.order[i], r.order[j] = r.order[j], r.order[i] })
	for at, i := range r.order {
		r.pos[i] = int32(at)
	}
	return r
}

func (r *rarity) swap(a, b int32) {
	x, y := r.order[a], r.order[b]
	r.order[a], r.order[b] = y, x
	r.pos[x], r.pos[y] = b, a
}

// grow makes bucket c exist.
func (r *rarity) grow(c int) {
	for len(r.start) <= c+1 {
		r.start = append(r.start, int32(len(r.order)))
	}
}

// inc counts one more source for piece i.
func (r *rarity) inc(i int) {
	c := int(r.count[i])
	r.count[i]++
	if r.pos[i] < 0 {
		return
	}
	r.grow(c + 1)
	r.swap(r.pos[i], r.start[c+1]-1)
	r.start[c+1]--
}

// dec counts one source less for piece i.
func (r *rarity) dec(i int) {
	c := int(r.count[i])
	if c == 0 {
		panic("BUG: picker: availability below zero")
	}
	r.count[i]--
	if r.pos[i] < 0 {
		return
	}
	r.swap(r.pos[i], r.start[c])
	r.start[c]++
}

// remove takes piece i out of the order.
func (r *rarity) remove(i int) {
	if r.pos[i] < 0 {
		return
	}
	// The hole travels up bucket by bucket to the end of the order.
	for c := int(r.count[i]) + 1; c < len(r.start); c++ {
		r.swap(r.pos[i], r.start[c]-1)
		r.start[c]--
	}
	r.order = r.order[:len(r.order)-1]
	r.pos[i] = -1
}

// insert puts piece i back.
func (r *rarity) insert(i int) {
	if r.pos[i] >= 0 {
		return
	}
	r.grow(int(r.count[i]))
	r.order = append(r.order, int32(i))
	r.pos[i] = int32(len(r.order) - 1)
	for c := len(r.start) - 1; c > int(r.count[i]); c-- {
		r.swap(r.pos[i], r.start[c])
		r.start[c]++
	}
}

// check panics when the order is not what it claims to be. For tests.
func (r *rarity) check() {
	for c := 0; c+1 < len(r.start); c++ {
		for at := r.start[c]; at < r.start[c+1]; at++ {
			if i := r.order[at]; int(r.count[i]) != c || r.pos[i] != at {
				panic("BUG: picker: rarity order broken")
			}
		}
	}
	if r.start[0] != 0 || r.start[len(r.start)-1] != int32(len(r.order)) {
		panic("BUG: picker: rarity bounds broken")
	}
}
