//! Whose certificates are believed.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use rustls_platform_verifier::Verifier;

use crate::{Error, error::chain};

/// TLS as all connections have it: the system's certificates (or those of `SSL_CERT_FILE` and
/// `SSL_CERT_DIR`) and those of `AWS_CA_BUNDLE`, and HTTP/1.1 only.
pub(super) fn tls() -> Result<ClientConfig, Error> {
    let wrong = |e: rustls::Error| Error::Settings(format!("TLS: {}", chain(&e)));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new_with_extra_roots(bundle()?, Arc::clone(&provider));
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier.map_err(wrong)?))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

/// The certificates of `AWS_CA_BUNDLE`.
fn bundle() -> Result<Vec<CertificateDer<'static>>, Error> {
    let path = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty());
    let Some(path) = path.map(PathBuf::from) else {
        return Ok(Vec::new());
    };
    let wrong =
        |cause: String| Error::Settings(format!("AWS_CA_BUNDLE={}: {cause}", path.display()));
    let certificates = CertificateDer::pem_file_iter(&path).map_err(|e| wrong(e.to_string()))?;
    certificates
        .collect::<Result<_, _>>()
        .map_err(|e| wrong(e.to_string()))
}
