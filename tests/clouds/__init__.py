"""Real servers of the clouds' protocols, each full of blobs, which the tests start and end themselves."""
