//! Adapters against servers: scripted ones for what goes wrong, rmcp for what is right.

#[cfg(test)]
mod child;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod legacy;
#[cfg(test)]
mod modern;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod process;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod world;
