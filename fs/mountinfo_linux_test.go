package fs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const someMounts = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
36 22 0:45 / /mnt/a\040b ro,nosuid,nodev,relatime shared:7 master:1 - fuse.qqbtfs qq\134btfs ro,user_id=0,group_id=0
37 22 0:46 / /mnt/other rw - fuse.sshfs host rw
38 22 0:47 / /mnt/c ro - fuse.qqbtfs qqbtfs ro
garbage
39 22 0:48 / /mnt/d ro - fuse.qqbtfs
`

func TestParseMountInfo(t *testing.T) {
	got, err := parseMountInfo(strings.NewReader(someMounts))
	want := []MountPoint{
		{Dir: "/mnt/a b", Source: `qq\btfs`, Dev: "0:45"},
		{Dir: "/mnt/c", Source: "qqbtfs", Dev: "0:47"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzParseMountInfo(f *testing.F) {
	f.Add(someMounts)
	f.Add(`1 1 0:1 / /\04 x - fuse.qqbtfs \777`)
	f.Fuzz(func(t *testing.T, s string) {
		mounts, _ := parseMountInfo(strings.NewReader(s))
		if len(mounts) > strings.Count(s, "fuse."+subtype) {
			t.Errorf("%d mounts", len(mounts))
		}
	})
}

func TestUserAllowOther(t *testing.T) {
	for conf, want := range map[string]bool{
		"":                                 false,
		"#user_allow_other\n":              false,
		"mount_max = 5\nuser_allow_other ": true,
	} {
		file := filepath.Join(t.TempDir(), "fuse.conf")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := userAllowOther(file); got != want {
			t.Errorf("%q: %v", conf, got)
		}
	}
	if userAllowOther("/nowhere") {
		t.Error("a missing file allows")
	}
}

func TestDying(t *testing.T) {
	if dying(os.Getpid()) || dying(0) {
		t.Error("we live")
	}
	if !dying(1 << 22) { // above the largest pid
		t.Error("a process that never was lives")
	}
}
