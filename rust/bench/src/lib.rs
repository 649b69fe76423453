//! Load generator and benchmark driver of forkserve.
//!
//! It knows servers only as processes that listen on a TCP address, so that
//! every server, ours or not, is measured from outside in the same way. From
//! the bottom up: [`schedule`] (when a connection is due), [`client`] (one
//! connection), [`load`] (many of them), [`procfs`] and [`server`] (the process
//! measured), [`servers`], [`row`] and [`rows`] (what is compared), [`measure`]
//! (pair by pair), [`soak`] (very many, some of which misbehave), [`stats`], [`results`], [`markdown`] and [`svg`] (what came of it).

pub mod client;
pub mod load;
pub mod markdown;
pub mod measure;
pub mod procfs;
pub mod results;
pub mod row;
pub mod rows;
pub mod schedule;
pub mod server;
pub mod servers;
pub mod soak;
pub mod stats;
pub mod svg;
