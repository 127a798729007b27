//! The store against bad luck and bad disks, on real files.
#![expect(clippy::arithmetic_side_effects, reason = "small numbers of tests")]

#[cfg(test)]
mod alterations;
#[cfg(test)]
mod archive;
#[cfg(test)]
#[path = "../../../testing/src/cluster.rs"]
#[expect(unreachable_pub, reason = "a file that is shared with the crate of whole servers")]
mod cluster;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod index;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod shared_faults;
#[cfg(test)]
mod support;
