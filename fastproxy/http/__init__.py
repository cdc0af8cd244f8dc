"""HTTP/1 messages: what a head holds, which framing is refused, how a head is rewritten and encoded."""
