"""What is known of the files of a release: scanners, each in a process of its own, and what their
answers mean."""
