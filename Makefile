# VBlk: two commands do everything: `make run` shows it at work, `make test` proves it.
# Each goal may be asked for alone; what it needs from apt is installed by `deps`.

SWIFT ?= swift
# The release command has a scratch path of its own: tests build with other flags, and would
# rebuild the libraries under it.
RELEASE := .build-release
TSAN := .build-tsan
ASAN := .build-asan
APT_PACKAGES := gcc spin perl libc6-dev libpciaccess-dev libnuma-dev pkg-config e2fsprogs valgrind \
  python3
SOURCES := Sources Tests Package.swift Docs/Package.swift Docs/Sources Benchmarks/Package.swift \
  Benchmarks/Sources Examples/Package.swift Examples/Sources

.PHONY: help deps build run test test-tsan test-asan lint format docs clean bench-instructions bench-threaded \
  soak-ring-reset watchdog checklist matrix features coverage models explore mutants
.DEFAULT_GOAL := help

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Installs what apt must give; silent when all is there
	@.ci/deps $(APT_PACKAGES)

build: deps ## Builds the release command: build/vblk
	@$(SWIFT) build -c release --product vblk --static-swift-stdlib --scratch-path $(RELEASE)
	@mkdir -p build
	@cp -u "$$($(SWIFT) build -c release --static-swift-stdlib --scratch-path $(RELEASE) \
	  --show-bin-path)/vblk" build/vblk

run: build ## Copies a real ext4 image between two emulated disks, proves it, measures
	@Examples/run.sh build/vblk

test: deps ## All tests, in debug, their count held against Tests/floor; then the examples
	@.ci/test .build
	@Examples/test.sh

.PHONY: test-vm
test-vm: build ## Real virtio-blk functions in a virtual machine: every row of Tests/VM (installs QEMU)
	@Tests/VM/run.sh

test-tsan: deps ## All tests under the thread sanitizer, in release (debug is blind to raw memory)
	@VBLK_ROUNDS=1000000 .ci/test $(TSAN) -c release --sanitize=thread -Xcc -fsanitize=thread
	@Tests/Sanitizers/planted-race.sh $(TSAN)

# Quarantined memory is kept for ever by design: no search for leaks.
test-asan: deps ## All tests under the address sanitizer
	@ASAN_OPTIONS=detect_leaks=0 .ci/test $(ASAN) --sanitize=address

watchdog: deps ## Breaks each rule of a driver once: the watchdog of the emulator names its row
	@$(SWIFT) build --build-tests 2>&1 | grep -E 'error|warning' || true
	@VBLK_TABLES=1 $(SWIFT) test --disable-xctest --skip-build --filter WatchdogTests/table \
	  </dev/null 2>&1 | grep -E '^(\| |watchdog:|✘)'

checklist: deps ## Each row of the specification's rules: its tests, its defects, noticed or not
	@$(SWIFT) build --build-tests 2>&1 | grep -E 'error|warning' || true
	@Tests/Checklist/checklist.py

matrix: build ## 50,000 seeded combinations of features, rings and limits, written and read back
	@build/vblk matrix --count 50000 --seed $(or $(SEED),1)

features: ## Writes docs/FEATURES.md anew: each feature bit, driver and emulator, with its tests
	@Tests/Checklist/features.py

coverage: deps ## Lines that the tests reach, module by module; FILES=--files names the files
	@.ci/coverage $(FILES)

models: deps ## Every Promela model through spin, exhaustively; each planted defect must be found
	@Models/check.sh

explore: build ## Every state of the small worlds, random schedules of the larger ones
	@build/vblk simulate

mutants: deps ## Plants bugs in a copy of the tree; each must be killed by the test that it names
	@Tests/Mutants/run.sh

lint: ## swift format, strict; docs/FEATURES.md up to date
	@$(SWIFT) format lint --strict --parallel -r $(SOURCES)
	@Tests/Checklist/features.py --check

format: ## Formats the tree in place
	@$(SWIFT) format --in-place --parallel -r $(SOURCES)

docs: deps ## The documentation of the library products, as sites in build/docs
	@Docs/build.sh build/docs

bench-instructions: deps ## Instructions of each form of the API beside a ring in C, counted by callgrind
	@python3 Benchmarks/instructions.py

bench-threaded: build ## Driver and device on two threads, beside a ring program in C; wants a quiet machine
	@Benchmarks/threaded.sh $(CURDIR)/build/vblk

soak-ring-reset: deps ## 10,000 resets of a queue under load, on every kind of ring: nothing lost, nothing twice
	@$(SWIFT) run -q -c release --package-path Benchmarks Soak 10000 $${SEED:-1}

clean: ## Removes everything that was built
	@rm -rf .build .build-* build Docs/.build Benchmarks/.build Examples/.build
