"""What an environment must do, and how that is checked; nothing here can be played."""
