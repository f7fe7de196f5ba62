"""Downloads: HTTP with retries and resuming, mirrors, and the content-addressed cache."""
