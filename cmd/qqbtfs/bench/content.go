package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
)

// pieceLength is that of every torrent here, of pieceSize bytes.
const (
	pieceLength = "256KiB"
	pieceSize   = 256 << 10
)

// content is what is shared, with its torrent.
type content struct {
	dir     string // where it lies: what a client calls its download directory
	name    string
	torrent string
	size    int64 // bytes
}

// path is where the content itself lies.
func (c *content) path() string { return filepath.Join(c.dir, c.name) }

// fileContent returns a single-file torrent of size bytes that do not compress.
func (b *bench) fileContent(ctx context.Context, size int64) (*content, error) {
	return b.content(ctx, fmt.Sprintf("%dm.bin", size>>20), func(path string) (int64, error) {
		f, err := os.Create(path)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		return io.Copy(f, io.LimitReader(rand.NewChaCha8([32]byte{byte(size >> 20)}), size))
	})
}

// treeContent returns a torrent of folders with files of 1 to 3 kB each.
func (b *bench) treeContent(ctx context.Context, folders, files int) (*content, error) {
	return b.content(ctx, "tree", func(path string) (total int64, err error) {
		rnd := rand.New(rand.NewPCG(1, 2))
		data := make([]byte, 3000)
		rand.NewChaCha8([32]byte{1}).Read(data)
		for d := range folders {
			dir := filepath.Join(path, fmt.Sprintf("folder %03d", d))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return 0, err
			}
			for i := range files {
				n := 1000 + rnd.IntN(2000)
				total += int64(n)
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file %03d.dat", i)), data[:n], 0o644); err != nil {
					return 0, err
				}
			}
		}
		return total, nil
	})
}

// content makes a content and its torrent, once.
func (b *bench) content(ctx context.Context, name string, create func(path string) (int64, error)) (*content, error) {
	if c := b.contents[name]; c != nil {
		return c, nil
	}
	b.say("making %s", name)
	c := &content{dir: b.path("content"), name: name, torrent: b.path(name + ".torrent")}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if c.size, err = create(c.path()); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, b.opt.bin, "create", "--force", "--piece-length", pieceLength,
		"--tracker", b.tracker.url, "-o", c.torrent, c.path())
	cmd.Env = cleanEnv()
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("qqbtfs create: %w: %s", err, said)
	}
	b.contents[name] = c
	return c, nil
}

// firstLine returns the first line that r has.
func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		return line, err
	}
	return line[:len(line)-1], nil
}
