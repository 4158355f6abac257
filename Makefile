# make demo    replay the shipped capture through the software 82599 and verify the files
# make test    all tests; installs what they need (apt, as root)
# make bench   nanoseconds per frame, beside the machine's own limits of the same run
# make fuzz    every fuzz target for FUZZTIME each
# make lint    gofmt, vet, staticcheck, shellcheck, the builds that must keep working

GO          ?= go
FUZZTIME    ?= 5m
BENCHTIME   ?= 8192000x
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2

export GOFLAGS := -buildvcs=false

.PHONY: all demo test lint bench fuzz clean tools

all: lint test

demo:
	CGO_ENABLED=0 $(GO) run ./examples/demo -wire testdata/hosts.pcap -dir ./capture

# What the tests run beside Go: name in PATH or file, Debian package.
TOOLS = tshark:tshark tcpdump:tcpdump tcpreplay:tcpreplay curl:curl ping:iputils-ping \
        ip:iproute2 shellcheck:shellcheck gcc:gcc /usr/include/stdlib.h:libc6-dev

tools:
	@.ci/tools $(TOOLS)

test: tools
	$(GO) vet ./...
	CGO_ENABLED=0 $(GO) test -count=1 -timeout 15m ./...
	$(GO) test -race -count=1 -timeout 15m ./...

lint: tools
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	GOARCH=arm64 $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	CGO_ENABLED=0 $(GO) build ./...
	CGO_ENABLED=0 GOARCH=arm64 $(GO) build ./...
	shellcheck .ci/run .ci/tools .ci/fuzz .ci/bench testdata/make.sh

bench:
	@.ci/bench $(BENCHTIME)

fuzz:
	.ci/fuzz $(FUZZTIME)

clean:
	rm -f capture/*.raw capture/*.raw.part
