// Put before every program.
