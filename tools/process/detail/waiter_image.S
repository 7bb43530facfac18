// The file of the program `waiter`, as waiter.h gives it.
  .section .rodata
  .global ponder_waiter_begin
  .global ponder_waiter_end
ponder_waiter_begin:
  .incbin PONDER_WAITER
ponder_waiter_end:
  .byte 0
  .section .note.GNU-stack, "", %progbits
