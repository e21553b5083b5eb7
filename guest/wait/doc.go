// Package wait has the queues on which guest tasks sleep.
//
// One turn: a system call that would block adds a Waiter to the Queue of what
// it waits for; whoever changes that thing calls Wake, which calls each waiter's
// function; the waiter is taken off by its owner, usually before it tries again.
//
// There is no lock: the guest's kernel lock guards all queues.
package wait
