package pcapfilter_test

import (
	"fmt"

	"github.com/ixcap/ixcap/capture/pcapfilter"
)

func ExampleCompile() {
	f, err := pcapfilter.Compile("arp or ether[12:2] = 0x88cc")
	if err != nil {
		fmt.Println(err)
		return
	}
	frame := make([]byte, 60)
	frame[12], frame[13] = 0x08, 0x06
	fmt.Println(f.Match(frame, len(frame)))

	_, err = pcapfilter.Compile("udp and port 5000-6000")
	fmt.Println(err)
	// Output:
	// true
	// pcapfilter: column 14: port 5000-6000: write portrange 5000-6000
}

func ExampleFilter_Needs() {
	f, err := pcapfilter.Compile("host 10.0.0.1 and port 53 and not vlan and greater 100")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f.Needs())
	// Output: (net 10.0.0.1/32 and port 53)
}
