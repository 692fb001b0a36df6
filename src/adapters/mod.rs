//! Where the stack meets the world: each adapter turns one SDK's calls, or the bytes of the wire, into
//! [`Request`](crate::call::Request)s, and answers back. The layers do not know which one they serve.

pub mod raw;
#[cfg(feature = "rmcp")]
pub mod rmcp;
