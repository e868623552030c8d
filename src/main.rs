//! tarn
fn main() {}
