"""What a reader may skip: whole-or-nothing files, command lines, checkpoints on disk, devices, memory, resuming."""
