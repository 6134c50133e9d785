//! `object_store`'s S3 client, set up for a test server: the client that the product itself uses.
//!
//! Absent: retries. A test wants to see each reply, and a writer of the log retries by its own rules.

use std::time::Duration;

use object_store::ClientOptions;
use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};

use crate::server::S3Server;

/// Where a store is and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// `http://host:port`.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Access key.
    pub access_key: String,
    /// Secret.
    pub secret_key: String,
    /// How long one request may take.
    pub timeout: Duration,
}

impl Login {
    /// To `bucket` of a running server, with credentials that it accepts.
    #[must_use]
    pub fn to(server: &S3Server, bucket: &str) -> Self {
        Self {
            endpoint: server.endpoint(),
            bucket: bucket.to_owned(),
            access_key: server.options().access_key.clone(),
            secret_key: server.options().secret_key.clone(),
            timeout: Duration::from_secs(30),
        }
    }

    /// A client that never retries.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub fn client(&self) -> object_store::Result<AmazonS3> {
        // Fails when the process has chosen a provider already, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let retry = RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, ..RetryConfig::default() };
        AmazonS3Builder::new()
            .with_endpoint(&self.endpoint)
            .with_bucket_name(&self.bucket)
            .with_access_key_id(&self.access_key)
            .with_secret_access_key(&self.secret_key)
            .with_region("us-east-1")
            .with_allow_http(true)
            .with_virtual_hosted_style_request(false)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(retry)
            .with_client_options(ClientOptions::new().with_allow_http(true).with_timeout(self.timeout))
            .build()
    }
}
