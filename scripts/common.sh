# Sourced by scripts/test and scripts/check: how both build, and how both report their steps.

# Lints run while the tests are compiled: the workspace's own crates go through clippy's driver, which is the
# compiler with more lints. `cargo clippy` would check all dependencies once more beside the build.
export RUSTC_WORKSPACE_WRAPPER=clippy-driver
export CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__

# Tests wait for disks, servers and processes: one a core would leave the cores idle for much of the time.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((3 * $(nproc)))}

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
build=$(realpath -m build)
mkdir -p "$build"
times=$build/test-times.tsv
: >"$times"

step=
steps=()
not_checked=()
failures=()

clock() { printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); }

# begin NAME: ends the step before and begins this one.
begin() {
  finish
  step=$1 step_began=$SECONDS
  printf '\n== %s (after %s)\n' "$step" "$(clock "$SECONDS")"
}

finish() {
  [ -z "$step" ] || steps+=("$(clock $((SECONDS - step_began)))|$step")
  step=
}

# fail NAME: remembers a suite that failed.
fail() {
  failures+=("$1")
  printf '!! FAILED: %s\n' "$1"
}

# in_background FUNCTION: runs suites beside what follows; what they print comes with wait_for_background.
in_background() {
  (
    step='' steps=() not_checked=() failures=()
    "$@"
    finish
    printf '%s\n' "${steps[@]/#/steps=}" "${not_checked[@]/#/not_checked=}" "${failures[@]/#/failures=}" >"$build/background.txt"
  ) >"$build/background.log" 2>&1 &
  background=$!
}

wait_for_background() {
  local line code=0
  begin "waiting for the suites beside it"
  wait "$background" || code=$?
  finish
  cat "$build/background.log"
  [ $code = 0 ] || fail "the suites beside it (exit $code)"
  while read -r line; do
    case $line in
    steps=?*) steps+=("${line#*=} (beside)") ;;
    not_checked=?*) not_checked+=("${line#*=}") ;;
    failures=?*) failures+=("${line#*=}") ;;
    esac
  done <"$build/background.txt"
}

# leave_out WHAT WHY: remembers for the last lines what this run could not check.
leave_out() {
  not_checked+=("$1: $2")
  echo "!! NOT CHECKED: $1: $2"
}

# watched SUITE COMMAND…: runs tests with a limit for each that hangs, and keeps their times.
watched() {
  local suite=$1
  shift
  scripts/watch.mjs "$suite" "$times" "$@"
}

# rust_tests SUITE ARGUMENT… -- ARGUMENT…: runs Rust tests. `--report-time` is an option of nightly compilers,
# which this variable allows; it reaches the test programs only, not the compiler.
rust_tests() {
  local suite=$1 host runner
  shift
  host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
  runner="CARGO_TARGET_${host}_RUNNER=env RUSTC_BOOTSTRAP=1"
  watched "$suite" env "$runner" cargo test --no-fail-fast "$@" -Z unstable-options --report-time
}

# in_postgres COMMAND…: runs a function of ours beside a PostgreSQL server (scripts/postgres).
in_postgres() {
  export -f watched rust_tests
  export times
  scripts/postgres bash -c '"$@"' - "$@"
}

# The table of steps, the slowest tests, and what was not checked.
report() {
  finish
  printf '\nSteps:\n'
  local line
  for line in "${steps[@]}"; do
    printf '  %12s  %s\n' "${line%%|*}" "${line#*|}"
  done
  if [ -s "$times" ]; then
    printf '\nThe slowest %d of %d tests (seconds; all in %s):\n' 20 "$(wc -l <"$times")" "${times#"$PWD"/}"
    sort -rn "$times" | awk -F'\t' 'NR <= 20 { printf "  %8.1f  %s: %s\n", $1, $2, $3 }'
  fi
  for line in "${not_checked[@]}"; do
    printf '\n!! NOT CHECKED: %s\n' "$line"
  done
  for line in "${failures[@]}"; do
    printf '\nFAILED: %s\n' "$line"
  done
}

ended() {
  local code=$?
  [ $code = 0 ] && return 0
  if [ -n "$step" ]; then
    failures+=("$step")
    report
  fi
  printf '\nFAILED (after %s)\n' "$(clock "$SECONDS")" >&2
}
trap ended EXIT
