// Package quick does commands that only ask the agent, before most of the program is
// initialised: the agent runs the command and this process prints what it wrote.
//
// On a box of 64 MB what a program touches of its own file counts: where less memory is free
// than the file is large, each page that is read takes another's place. Starting the program,
// reading settings and writing a table touch nearly all of it; asking the agent, half.
//
// The package does its work in its init function, for which it imports next to nothing: the
// runtime initialises packages in the order of their paths as soon as their imports are. It
// does so only for a command line and an environment that leave no doubt about what is
// meant, and if the agent at the usual socket, or that which is named, runs the command for
// this user and succeeds. In all other cases nothing has happened, and the program goes on as
// if this package did not exist: errors are told there.
package quick
