"""What tasks share: the base class and those of images and sound, of text, of video; what `cluster` knows of each."""
