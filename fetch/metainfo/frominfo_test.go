package metainfo

import (
	"reflect"
	"strings"
	"testing"
)

const plainInfo = "d6:lengthi3e4:name1:a12:piece lengthi16384e6:pieces20:" + "aaaaaaaaaaaaaaaaaaaae"

func TestFromInfo(t *testing.T) {
	m, err := FromInfo([]byte(plainInfo), []string{"udp://a:1/announce", "ftp://b/", "http://c/announce", "udp://a:1/announce"}, []string{"http://w/", "udp://w/"})
	if err != nil {
		t.Fatal(err)
	}
	if want := [][]string{{"udp://a:1/announce"}, {"http://c/announce"}}; !reflect.DeepEqual(m.Trackers, want) {
		t.Errorf("trackers %v, want %v", m.Trackers, want)
	}
	if !reflect.DeepEqual(m.URLList, []string{"http://w/"}) || m.Info.Name != "a" || m.NumPieces() != 1 {
		t.Errorf("%+v", m)
	}
	again, err := Parse(m.Torrent())
	if err != nil || !reflect.DeepEqual(m, again) {
		t.Errorf("%+v\n%+v, %v", m, again, err)
	}
	if m, err = FromInfo([]byte(plainInfo), nil, nil); err != nil {
		t.Fatal(err)
	}
	if again, err = Parse(m.Torrent()); err != nil || !reflect.DeepEqual(m, again) {
		t.Errorf("without trackers: %+v\n%+v, %v", m, again, err)
	}
	if _, err := FromInfo([]byte(strings.Replace(plainInfo, "i3e", "i-3e", 1)), nil, nil); err == nil {
		t.Error("a negative length is no error")
	}
}
