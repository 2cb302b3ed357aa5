# Targets that people use: demo, test, build, install, systemd, vrf, bench, gobench, pgo, lint, fuzz, soak, cross, image,
# container-test, clean.

GO      ?= go
FUZZ    ?= 10s
SOAK    ?= 1h
SOAK_RATE ?= 40

# grpcnotrace and nethttpomithttp2 leave out a tracer and an HTTP/2 server that
# nothing here uses; without the first, the linker can drop no method at all.
TAGS    := grpcnotrace,nethttpomithttp2
LDFLAGS := -s -w -funcalign=8
# Inlining is for the data plane, handshakes and decisions only: elsewhere (gRPC,
# TLS, HTTP, YAML) it costs 1 MB and gains nothing that anyone could notice.
INLINED := runtime/... internal/... sync/... syscall net net/netip time bytes encoding/binary \
	crypto/internal/fips140/edwards25519/... golang.org/x/crypto/... golang.org/x/sys/... \
	golang.zx2c4.com/... gvisor.dev/... github.com/google/btree \
	$(addprefix github.com/wirespan/wirespan/,device/... mesh discovery discovery/codec firewall firewall/netlink bench/rig/load)
GCFLAGS := -gcflags=all=-l $(INLINED:%=-gcflags=%=)

export CGO_ENABLED = 0

.PHONY: build
build: ## the static binary, bin/wirespan
	$(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' $(GCFLAGS) -o bin/wirespan ./cmd/wirespan

.PHONY: install
install: ## the binary, the units and the group wirespan, below DESTDIR; make build first
	install -D -m 755 bin/wirespan $(DESTDIR)/usr/bin/wirespan
	install -D -m 644 -t $(DESTDIR)/usr/lib/systemd/system deploy/*.service
	install -D -m 644 -t $(DESTDIR)/usr/lib/sysusers.d deploy/sysusers.d/wirespan.conf
	test -n "$(DESTDIR)" || ! test -d /run/systemd/system || { systemd-sysusers wirespan.conf && systemctl daemon-reload; }

.PHONY: demo
demo: build ## a mesh of three nodes on this machine, unprivileged
	./bin/wirespan demo

.PHONY: test
test: tools ## unit tests with the race detector and, as root, the privileged suite
	cd testdata/interop && CGO_ENABLED=1 $(GO) test -race ./...
	cd deploy/container/image && $(GO) test -count 1 ./... # reads files outside of its module
	$(GO) vet -tags $(TAGS) ./...
	@# The race detector makes sync.Pool forget: allocations are counted without it.
	$(GO) test -pgo=off -tags $(TAGS) -run Alloc ./device/...
	$(GO) test -pgo=off -tags $(TAGS) -run '^(TestFirstHandshake|TestPathCut|TestHostileFeed|TestGrowth)$$' ./mesh/node/nodetest
	CGO_ENABLED=1 $(GO) test -race -pgo=off -tags $(TAGS) -timeout 14m ./...

.PHONY: soak
soak: tools ## tunnels over bad paths for SOAK (1h) at SOAK_RATE Mb/s (40), as root
	WIRESPAN_SOAK=$(SOAK) WIRESPAN_SOAK_RATE=$(SOAK_RATE) \
		$(GO) test -tags $(TAGS) -run '^TestSoak$$' -v -timeout 0 ./cmd/wirespan/e2e

.PHONY: systemd
systemd: tools ## the units under a real systemd, in namespaces on a copy of this machine's files, as root
	WIRESPAN_SYSTEMD=1 $(GO) test -tags $(TAGS) -run '^TestSystemd$$' -count 1 -v -timeout 5m ./cmd/wirespan/e2e

.PHONY: vrf
vrf: build ## nodes whose uplink is in a VRF, in an emulated guest with Debian's kernel (debootstrap, qemu), as root
	bash testdata/vrf/guest.sh bin/vrf bin/wirespan

# What the tests run, as COMMAND=DEBIAN-PACKAGE.
TOOLS := gcc=gcc iperf3=iperf3 ip=iproute2 nft=nftables iptables-nft=iptables wg=wireguard-tools ping=iputils-ping curl=curl turnserver=coturn setpriv=util-linux ethtool=ethtool systemd-analyze=systemd dbus-daemon=dbus-daemon

.PHONY: tools
tools:
	@missing=; for t in $(TOOLS); do command -v $${t%=*} >/dev/null || test -e $${t%=*} || missing="$$missing $${t#*=}"; done; \
	test -z "$$missing" && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	else echo "the tests need these packages:$$missing" >&2; exit 1; fi

.PHONY: bench
bench: build ## the standard local matrix, under 10 minutes; as root with all subjects that are here
	./bin/wirespan bench local $$(test "$$(id -u)" = 0 || echo --unprivileged)

# What `make pgo` measures while it records.
PGO := --subjects wirespan-tun,wirespan-netstack --streams 1,4 --runs 1 --duration 5s --metrics tcp.up,tcp.down,udp

.PHONY: pgo
pgo: ## records how the data plane runs, as root; every build after that is optimized for it
	$(GO) build -trimpath -pgo=off -tags $(TAGS),profile $(GCFLAGS) -o bin/wirespan-profile ./cmd/wirespan
	rm -rf bin/profile && mkdir -p bin/profile
	WIRESPAN_CPUPROFILE=$(CURDIR)/bin/profile ./bin/wirespan-profile bench local $(PGO) >/dev/null
	$(GO) tool pprof -proto -output bin/default.pgo bin/wirespan-profile bin/profile/*.pprof
	mv bin/default.pgo cmd/wirespan/default.pgo
	rm -rf bin/profile bin/wirespan-profile

.PHONY: gobench
gobench: ## Go benchmarks of all packages
	$(GO) test -tags $(TAGS) -run '^$$' -bench . -benchmem ./...

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZ (10s)
	@$(GO) list -tags $(TAGS) ./... | while read -r pkg; do \
		for f in $$($(GO) test -tags $(TAGS) -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; \
			$(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZ) -fuzzminimizetime 1x $$pkg || exit 1; \
		done; done

.PHONY: size
size: build ## fails if the binary has grown past 19.75 MiB
	@test $$(wc -c < bin/wirespan) -le 20709376 || { ls -l bin/wirespan; echo "bin/wirespan is larger than 19.75 MiB" >&2; exit 1; }

ARCHS ?= amd64 arm64 arm riscv64 mipsle 386

.PHONY: cross
cross: ## builds for every supported architecture, or those of ARCHS
	@for a in $(ARCHS); do \
		echo linux/$$a; GOOS=linux GOARCH=$$a GOARM=7 GOMIPS=softfloat \
		$(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)' $(GCFLAGS) -o bin/wirespan-linux-$$a ./cmd/wirespan || exit 1; done

IMAGE        ?= wirespan:latest
CERTIFICATES ?= /etc/ssl/certs/ca-certificates.crt
# The time of all files in the image. The same commit, Go and certificates give the same image.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

empty :=
space := $(empty) $(empty)
comma := ,

.PHONY: image
image: cross ## a container image IMAGE (wirespan:latest) in bin/image: an OCI layout, and tars for docker load
	cd deploy/container/image && $(GO) run . -binaries $(CURDIR)/bin -out $(CURDIR)/bin/image -tag $(IMAGE) \
		-archs $(subst $(space),$(comma),$(strip $(ARCHS))) -certificates $(CERTIFICATES) -created $(SOURCE_DATE_EPOCH) \
		-version "$$(git describe --tags --always --dirty 2>/dev/null)" -revision "$$(git rev-parse HEAD 2>/dev/null)"

.PHONY: container-test
container-test: TOOLS += runc=runc umoci=umoci qemu-arm-static=qemu-user-static ssh=openssh-client \
	/usr/sbin/sshd=openssh-server dig=bind9-dnsutils node=nodejs chromium=chromium /usr/bin/python3=python3 \
	/usr/lib/python3/dist-packages/requests/__init__.py=python3-requests /usr/lib/python3/dist-packages/socks.py=python3-socks
container-test: tools ## the image with runc, without privileges, for arm64 and armv7 under emulation, as root
	$(MAKE) image IMAGE=wirespan:latest ARCHS="amd64 arm64 arm"
	WIRESPAN_IMAGE=$(CURDIR)/bin/image/oci $(GO) test -tags $(TAGS) -run '^TestContainer$$' -count 1 -v -timeout 5m ./cmd/wirespan/e2e

# The tools are pinned in a module of their own, so that their requirements never reach a
# user's build. The first call builds them, which takes minutes; then Go's cache has them.
GOTOOL := $(GO) tool -modfile=$(CURDIR)/testdata/tools/go.mod

# Code that the program cannot reach is dead, even where a test calls it: the test alone
# would keep it. So the first deadcode runs without -test. It sees only the packages that
# the program imports. The second, with -test, finds what neither the program nor a test
# calls in all the others, and in the tests themselves.
# KEPT lists the exceptions: Token.Format hides a join token from code that would print it;
# Node.Agent, node.Start and config.New are for programs that embed a node.
KEPT := unreachable func: \(Token.Format\|Node.Agent\|Node.ready\)$$\|^mesh/node/start.go:.* Start$$\|^mesh/config/load.go:.* New$$

.PHONY: lint
lint: ## golangci-lint, tidiness of the go.mod files, dead code
	$(GOTOOL) golangci-lint run
	cd testdata/interop && $(GOTOOL) golangci-lint run --config $(CURDIR)/.golangci.yml
	cd deploy/container/image && $(GOTOOL) golangci-lint run --config $(CURDIR)/.golangci.yml
	@for m in . testdata/interop testdata/tools deploy/container/image; do (cd $$m && $(GO) mod tidy -diff) || exit 1; done
	@dead=$$($(GOTOOL) deadcode -tags $(TAGS) ./cmd/wirespan && $(GOTOOL) deadcode -test -tags $(TAGS) ./...) || exit 1; \
	! echo "$$dead" | grep -v -e '^$$' -e '$(KEPT)' >&2

.PHONY: clean
clean:
	rm -rf bin
