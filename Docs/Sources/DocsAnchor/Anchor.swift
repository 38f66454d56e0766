// The plugin documents targets of the packages that this one depends on; it needs one of its own.
