//! The PostgreSQL door.

mod decode;
mod encode;
mod fault;
mod message;
mod wire;
