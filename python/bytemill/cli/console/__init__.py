"""What lies between the programs and the terminal: arguments, messages, streams, Ctrl-C."""
