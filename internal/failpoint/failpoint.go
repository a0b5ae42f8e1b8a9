// Package failpoint plants faults and crashes, so that tests and make
// faults-selftest can show that they are noticed and survived. In a build
// without the tag failpoints all of it is nothing: its functions are constants
// to the compiler.
package failpoint

// Env names the environment variable with what is planted, separated by
// commas. A process hands it on to what it starts.
const Env = "QUELL_FAILPOINTS"
