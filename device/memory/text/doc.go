// Package text has the kernel read less of the program's own file, for which importing it is
// enough, and keep less of it resident in a process that sleeps ([Release]).
//
// By default the kernel reads the 128 KB around each page of the file that is needed. The
// first hundred of those bring in all of a program, and where less memory is free than that,
// each takes the pages of the others. So on a machine of up to 128 MB the kernel is told to
// read single pages. A command that only asks the agent then reads a quarter of the file.
//
// It also makes the stack of the main goroutine as large as a command needs it: each time the
// runtime makes it larger, it reads its tables of all functions that are on it.
//
// The package imports next to nothing, so that it is initialised before most others. It
// changes nothing but what is resident.
package text
