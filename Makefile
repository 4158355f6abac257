# make demo    replay the shipped capture through the software 82599 and verify the files
# make test    all tests; installs what they need (apt, as root)
# make bench   nanoseconds per frame, beside the machine's own limits of the same run
# make timestamps  how far stamps are from the truth, per policy, beside the thesis's tables (takes minutes);
#                  TIMESTAMPS="--fifo 10 --svg FILE" for other flags of examples/timestamps
# make bench-store  storing beside what the disk itself can do, in DIR
# make bench-query  a minute of one host out of SIZE of stored traffic, beside tcpdump -r, in DIR
# make crash   200 kills at random moments, disks that fill up and fail; nothing is lost that the ledger does not show
# make stress  listeners come, go, hang and die at full speed for DURATION; every frame accounted for
# make fuzz    every fuzz target for FUZZTIME each
# make vmtest  Linux's drivers and ours in virtual machines (root); RUN=REGEXP chooses tests, FAULT=NAME breaks the model
# make man     man pages of all programs in build/man, the programs in bin
# make lint    gofmt, vet, staticcheck, shellcheck, the builds that must keep working

GO          ?= go
FUZZTIME    ?= 5m
DURATION    ?= 10m
DIR         ?= .
SIZE        ?= 2GiB
BENCHTIME   ?= 8192000x
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2

export GOFLAGS := -buildvcs=false

.PHONY: all demo test vmtest lint bench bench-store bench-query crash timestamps stress fuzz man clean tools

all: lint test

demo:
	CGO_ENABLED=0 $(GO) run ./examples/demo -r testdata/hosts.pcap -w build/demo

# What the tests run beside Go: name in PATH or file, Debian package.
TOOLS = tshark:tshark editcap:wireshark-common tcpdump:tcpdump tcpreplay:tcpreplay curl:curl ping:iputils-ping \
        ip:iproute2 shellcheck:shellcheck gcc:gcc /usr/include/stdlib.h:libc6-dev \
        zstd:zstd promtool:prometheus systemd-analyze:systemd \
        /usr/sbin/mkfs.ext4:e2fsprogs

tools:
	@.ci/tools $(TOOLS)

test: tools
	$(GO) vet ./...
	CGO_ENABLED=0 $(GO) test -count=1 -timeout 15m ./...
	$(GO) test -race -count=1 -timeout 15m ./...

# A compiled test binary runs by itself, so that its lines show as cases end.
RUN   ?= .
FAULT ?=
vmtest:
	@vm=$$(.ci/vm) && bin=$$(mktemp -d) && trap 'rm -rf "$$bin"' EXIT && trap 'exit 1' INT TERM HUP && \
	$(GO) test -c -tags vmtest -o "$$bin/vmtest" ./examples/vmtest && \
	cd examples/vmtest && IXCAP_VM=$$vm "$$bin/vmtest" -test.timeout 30m -test.run '$(RUN)' -fault '$(FAULT)'

lint: tools
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	GOARCH=arm64 $(GO) vet ./...
	$(GO) vet -tags vmtest ./examples/vmtest/...
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) -tags vmtest ./examples/vmtest/...
	mkdir -p bin && CGO_ENABLED=0 $(GO) build -o bin/ ./...
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build ./...
	shellcheck .ci/run .ci/tools .ci/fuzz .ci/bench .ci/vm .ci/vmiommufd testdata/make.sh \
		examples/vfio-bind examples/vmtest/testdata/init examples/vmtest/testdata/modprobe

bench:
	@.ci/bench $(BENCHTIME)

bench-store:
	CGO_ENABLED=0 $(GO) run ./examples/benchstore -w $(DIR)

bench-query: tools
	IXCAP_STORED=$(SIZE) IXCAP_STORED_DIR=$(DIR) $(GO) test -run '^$$' -bench Window -benchtime 1x -timeout 2h ./examples/hpcapq

crash: tools
	IXCAP_CRASHES=200 $(GO) test -count=1 -timeout 40m -v -run 'Killed|Recovered|CaptureGoesOn|Outlives|UnderRetention|StepOfTheClock' ./examples/e2e ./capture/archive/retain

timestamps:
	$(GO) run ./examples/timestamps $(TIMESTAMPS)

stress:
	CGO_ENABLED=0 $(GO) run ./examples/stress --duration $(DURATION)

fuzz:
	.ci/fuzz $(FUZZTIME)

# The programs: packages main under examples/, without those in the VMs of the tests.
PROGRAMS = $(shell $(GO) list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' ./examples/... | grep -v /vmtest/)

man:
	mkdir -p bin && CGO_ENABLED=0 $(GO) build -o bin/ $(PROGRAMS)
	set -e; for p in $(notdir $(PROGRAMS)); do bin/$$p --man build/man; done

clean:
	rm -rf build bin
