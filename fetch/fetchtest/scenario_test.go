package fetchtest

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the transcripts of the scenarios anew")

const divider = "----\n"

// TestScenarios runs the scenarios of testdata and compares their transcripts,
// which stand below a line of dashes.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			text, want, _ := strings.Cut(string(b), divider)
			var got bytes.Buffer
			if err := Run(text, &got); err != nil {
				t.Fatalf("%v\n%s", err, &got)
			}
			if *rewrite {
				if err := os.WriteFile(name, []byte(text+divider+got.String()), 0o666); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != want {
				t.Errorf("the transcript is\n%s\nwant\n%s", &got, want)
			}
		})
	}
}

func TestScenarioErrors(t *testing.T) {
	for _, text := range []string{
		"", "peer a", "torrent pieces=x", "torrent\nfly away", "torrent\nclient c\nat 1s know nobody",
		"torrent pieces=3\nclient c\nat 1s read 3", "torrent\nclient c\nat soon fill on", "torrent\npeer a up=fast",
	} {
		if err := Run(text, new(bytes.Buffer)); err == nil {
			t.Errorf("no error from %q", text)
		}
	}
}
