# make demo         replay testdata/hosts.pcap through the software 82599 and verify the files
# make test         all tests, without and with the race detector, but tests of other programs only without (less
#                   than 10 minutes on two cores); as root it installs the tools they need (apt), without services
# make bench        nanoseconds per frame, relative to the machine's limits in the same run
# make timestamps   error of the timestamps per policy, with the thesis's figures (minutes);
#                   TIMESTAMPS="--fifo 10 --svg FILE": flags of examples/timestamps
# make wirecap      WireCAP's experiments, in virtual time (minutes); WIRECAP="--experiment bursts --cost 10us
#                   --svg FILE": flags of examples/wirecap
# make bench-store  throughput of storing, relative to the disk's, in DIR
# make bench-query  one host's minute out of SIZE of stored traffic, compared with tcpdump -r, in DIR
# make bench-front   CPU time per packet of a counting program over libpcap/, and over the system's libpcap on a
#                   veth pair (root)
# make bench-send   error of the spacing of replayed frames per method, on the model, and tcpreplay's on a veth
#                   pair (root)
# make crash        200 kills at random times, full and failing disks, stalled terminals, pipes and clients,
#                   members of fan-out groups that die and hang: each loss is in the ledger
# make stress       listeners attach, detach, stop and die at full speed for DURATION; STRESS="--zero-copy": flags
#                   of examples/stress
# make pcaptest     programs of Debian over the libpcap front, alone and four in a group, compared with one
#                   instance that reads files (half an hour); IXCAP_CHROOT=DIR:DIR: Suricata and Snort, too
# make fuzz         each fuzz target for FUZZTIME
# make vmtest       Linux drivers and ours in virtual machines (root); RUN=REGEXP selects tests,
#                   FAULT=NAME injects a fault into the model
# make man          man pages of all programs to build/man, the programs to bin
# make lint         gofmt, vet, staticcheck, shellcheck, builds of all platforms and of libpcap/

GO          ?= go
FUZZTIME    ?= 5m
DURATION    ?= 10m
DIR         ?= .
SIZE        ?= 2GiB
BENCHTIME   ?= 8192000x
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2

export GOFLAGS := -buildvcs=false

.PHONY: all demo test pcaptest vmtest lint bench bench-store bench-any bench-query bench-front bench-send crash timestamps wirecap stress fuzz man clean tools

all: lint test

demo:
	CGO_ENABLED=0 $(GO) run ./examples/demo -r testdata/hosts.pcap -w build/demo

# Tools of the tests: name in PATH or file, and Debian package.
TOOLS = tshark:tshark editcap:wireshark-common mergecap:wireshark-common capinfos:wireshark-common prlimit:util-linux \
        ethtool:ethtool tcpdump:tcpdump tcpreplay:tcpreplay tcprewrite:tcpreplay curl:curl ping:iputils-ping \
        ip:iproute2 shellcheck:shellcheck gcc:gcc /usr/include/stdlib.h:libc6-dev \
        zstd:zstd lz4:lz4 bzip2:bzip2 promtool:prometheus systemd-analyze:systemd \
        /usr/sbin/mkfs.ext4:e2fsprogs date:coreutils /usr/share/zoneinfo/Europe/Berlin:tzdata \
        /usr/include/pcap/pcap.h:libpcap0.8-dev make:make valgrind:valgrind mandoc:mandoc g++:g++

tools:
	@.ci/tools $(TOOLS)

# Many tests wait: twice as many packages at once as there are cores. The longest, e2e, begins first, and skips most of
# its tests in the second pass (docs/TESTING.md). vet has run for all. Programs with the race detector sleep for a second
# at their end, unless told otherwise; tests start hundreds.
AT_ONCE    := $(shell expr 2 '*' $$(nproc))
TEST_FLAGS  = -count=1 -vet=off -timeout 15m -p $(AT_ONCE) -parallel $(AT_ONCE) ./examples/e2e ./...

test: tools
	$(GO) vet ./...
	CGO_ENABLED=0 $(GO) test $(TEST_FLAGS)
	GORACE=atexit_sleep_ms=20 $(GO) test -race $(TEST_FLAGS)

# The programs of examples/pcapfront.
PCAPTOOLS = dumpcap:wireshark-common tshark:tshark tcpdump:tcpdump ngrep:ngrep tcpflow:tcpflow p0f:p0f darkstat:darkstat \
            argus:argus-server racluster:argus-client softflowd:softflowd pmacctd:pmacct nfpcapd:nfdump sngrep:sngrep

IXCAP_CHROOT ?=
pcaptest: tools
	@.ci/tools $(PCAPTOOLS)
	IXCAP_PCAPTEST=1 IXCAP_CHROOT=$(IXCAP_CHROOT) $(GO) test -count=1 -timeout 90m ./examples/pcapfront

# go test would print the lines of a test binary at its end.
RUN   ?= .
FAULT ?=
vmtest:
	@vm=$$(.ci/vm) && bin=$$(mktemp -d) && trap 'rm -rf "$$bin"' EXIT && trap 'exit 1' INT TERM HUP && \
	$(GO) test -c -tags vmtest -o "$$bin/vmtest" ./examples/vmtest && \
	cd examples/vmtest && IXCAP_VM=$$vm "$$bin/vmtest" -test.timeout 30m -test.run '$(RUN)' -fault '$(FAULT)'

lint:
	@.ci/tools shellcheck:shellcheck gcc:gcc /usr/include/stdlib.h:libc6-dev /usr/include/pcap/pcap.h:libpcap0.8-dev
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	GOARCH=arm64 $(GO) vet ./...
	$(GO) vet -tags vmtest ./examples/vmtest/...
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) -tags vmtest ./examples/vmtest/...
	mkdir -p bin && CGO_ENABLED=0 $(GO) build -o bin/ ./...
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build ./...
	$(MAKE) -C libpcap BUILD=../build/libpcap
	shellcheck .ci/run .ci/tools .ci/fuzz .ci/bench .ci/vm .ci/vmiommufd testdata/make.sh findings/*.sh \
		examples/vfio-bind examples/vmtest/testdata/init examples/vmtest/testdata/modprobe examples/vmtest/testdata/testpmd

bench:
	@.ci/bench $(BENCHTIME)

bench-store:
	CGO_ENABLED=0 $(GO) run ./examples/benchstore -w $(DIR)

# As root: network namespaces.
bench-any:
	@.ci/tools tcpdump:tcpdump dumpcap:wireshark-common netsniff-ng:netsniff-ng trafgen:netsniff-ng ip:iproute2
	CGO_ENABLED=0 $(GO) build -o build/bench-any/ ./examples/hpcapdd ./examples/benchany
	build/bench-any/benchany --hpcapdd build/bench-any/hpcapdd -w $(DIR)

bench-query: tools
	IXCAP_STORED=$(SIZE) IXCAP_STORED_DIR=$(DIR) $(GO) test -run '^$$' -bench Window -benchtime 1x -timeout 2h ./examples/hpcapq

bench-front: tools
	$(GO) test -run '^$$' -bench 'Dispatch|Filter' -benchtime 3x ./libpcap/test

bench-send: tools
	$(GO) test -run '^$$' -bench Spacing -benchtime 1x ./examples/replay

crash: tools
	IXCAP_CRASHES=200 $(GO) test -count=1 -timeout 40m -v -run 'Killed|Recovered|CaptureGoesOn|Outlives|UnderRetention|StepOfTheClock' ./examples/e2e ./capture/archive/retain
	IXCAP_DEPARTURES=200 $(GO) test -count=1 -timeout 20m -v -run DuringHandovers ./capture/stream

timestamps:
	$(GO) run ./examples/timestamps $(TIMESTAMPS)

wirecap:
	CGO_ENABLED=0 $(GO) run ./examples/wirecap $(WIRECAP)

stress:
	CGO_ENABLED=0 $(GO) run ./examples/stress --duration $(DURATION) $(STRESS)

fuzz:
	.ci/fuzz $(FUZZTIME)

# The programs: packages main under examples/, without those in the VMs of the tests.
PROGRAMS = $(shell $(GO) list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' ./examples/... | grep -v /vmtest/)

man:
	mkdir -p bin && CGO_ENABLED=0 $(GO) build -o bin/ $(PROGRAMS)
	set -e; for p in $(notdir $(PROGRAMS)); do bin/$$p --man build/man; done

clean:
	rm -rf build bin
