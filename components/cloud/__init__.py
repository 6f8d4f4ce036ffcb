"""Real resources of AWS and Google Cloud, offered as the same capabilities as the emulators'."""
